// The operator's attributes, as TensorRT hands them over.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <optional>

namespace lgeu {

struct StripGateFields {
    int32_t num_strips;     // K
    int32_t channels_last;  // 0: X is (N, C, H, W); 1: X is (N, H, W, C)
};

// A plugin field for each attribute. They point into `fields`, or hold no data where that is nullptr.
std::array<nvinfer1::PluginField, 2> plugin_fields(StripGateFields const* fields);

// The attributes, or nothing with the reason logged. channels_last may be missing, which means 0.
std::optional<StripGateFields> parse_fields(nvinfer1::PluginFieldCollection const& fields);

}  // namespace lgeu
