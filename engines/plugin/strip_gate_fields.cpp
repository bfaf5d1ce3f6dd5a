#include "strip_gate_fields.h"

#include "strip_gate_log.h"

#include <cstring>
#include <limits>
#include <string>

namespace lgeu {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

constexpr char const* kNumStrips = "num_strips";
constexpr char const* kChannelsLast = "channels_last";

// The value of an integer field, in whichever width the parser passed it.
std::optional<int64_t> integer(PluginField const& field) {
    if (field.data == nullptr || field.length != 1) {
        return std::nullopt;
    }
    if (field.type == PluginFieldType::kINT32) {
        return *static_cast<int32_t const*>(field.data);
    }
    if (field.type == PluginFieldType::kINT64) {
        return *static_cast<int64_t const*>(field.data);
    }
    return std::nullopt;
}

}  // namespace

std::array<PluginField, 2> plugin_fields(StripGateFields const* fields) {
    int32_t const* const strips = fields == nullptr ? nullptr : &fields->num_strips;
    int32_t const* const channels_last = fields == nullptr ? nullptr : &fields->channels_last;
    return {PluginField{kNumStrips, strips, PluginFieldType::kINT32, 1},
        PluginField{kChannelsLast, channels_last, PluginFieldType::kINT32, 1}};
}

std::optional<StripGateFields> parse_fields(nvinfer1::PluginFieldCollection const& fields) {
    int64_t strips = 0;
    int64_t channels_last = 0;
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        PluginField const& field = fields.fields[i];
        bool const is_strips = std::strcmp(field.name, kNumStrips) == 0;
        // Fields of other names are not ours: parsers add the node's plugin_namespace and plugin_version.
        if (!is_strips && std::strcmp(field.name, kChannelsLast) != 0) {
            continue;
        }
        auto const value = integer(field);
        if (!value) {
            log_error(std::string(field.name) + " is not a single 32- or 64-bit integer");
            return std::nullopt;
        }
        (is_strips ? strips : channels_last) = *value;
    }
    if (strips < 1 || strips > std::numeric_limits<int32_t>::max()) {
        log_error("num_strips is " + std::to_string(strips) + " or missing; expected at least 1");
        return std::nullopt;
    }
    if (channels_last != 0 && channels_last != 1) {
        log_error("channels_last is " + std::to_string(channels_last) + "; expected 0 or 1");
        return std::nullopt;
    }
    return StripGateFields{static_cast<int32_t>(strips), static_cast<int32_t>(channels_last)};
}

}  // namespace lgeu
