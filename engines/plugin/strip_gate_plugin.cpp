#include "strip_gate_plugin.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <optional>

namespace lgeu {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr char const* kName = "StripGate";
constexpr char const* kVersion = "1";
constexpr char const* kNamespace = "lgeu";

enum Tensor : int32_t { kX = 0, kW1 = 1, kW2 = 2, kInputCount = 3 };
constexpr int32_t kOutputCount = 1;
constexpr int32_t kFailure = 1;
constexpr int64_t kUnknown = -1;

std::atomic<ErrorHandler> error_handler{nullptr};

std::string shape_text(Dims const& dims) {
    std::string text = "(";
    for (int32_t i = 0; i < dims.nbDims; ++i) {
        text += (i == 0 ? "" : ", ") + (dims.d[i] < 0 ? std::string("?") : std::to_string(dims.d[i]));
    }
    return text + ")";
}

bool equal_or_unknown(int64_t left, int64_t right) { return left < 0 || right < 0 || left == right; }

int64_t channels_of(Dims const& x, StripGateFields fields) { return fields.channels_last != 0 ? x.d[3] : x.d[1]; }
int64_t height_of(Dims const& x, StripGateFields fields) { return fields.channels_last != 0 ? x.d[1] : x.d[2]; }
int64_t width_of(Dims const& x, StripGateFields fields) { return fields.channels_last != 0 ? x.d[2] : x.d[3]; }

// Why these shapes cannot be computed; dimensions below 0 are not known yet and are let pass. Empty: they can.
std::string refusal(StripGateFields fields, Dims const& x, Dims const& w1, Dims const& w2) {
    if (x.nbDims != 4 || w1.nbDims != 3 || w2.nbDims != 3) {
        return "X, W1 and W2 have shapes " + shape_text(x) + ", " + shape_text(w1) + " and " + shape_text(w2)
            + "; expected 4, 3 and 3 dimensions";
    }
    std::string const strips = std::to_string(fields.num_strips);
    int64_t const height = height_of(x, fields);
    if (height == 0 || (height > 0 && height % fields.num_strips != 0)) {
        return "X has " + std::to_string(height) + " rows; expected a positive multiple of num_strips = " + strips;
    }
    int64_t const channels = channels_of(x, fields);
    int64_t const reduction = w1.d[1] >= 0 ? w1.d[1] : w2.d[2];
    bool const w1_fits = equal_or_unknown(w1.d[0], fields.num_strips) && equal_or_unknown(w1.d[2], channels);
    bool const w2_fits = equal_or_unknown(w2.d[0], fields.num_strips) && equal_or_unknown(w2.d[1], channels)
        && equal_or_unknown(w2.d[2], reduction);
    if (!w1_fits || !w2_fits) {
        return "W1 and W2 have shapes " + shape_text(w1) + " and " + shape_text(w2) + "; expected (K, R, C) and "
            + "(K, C, R) with K = num_strips = " + strips + " and C the channels of X " + shape_text(x);
    }
    if (channels == 0 || reduction == 0 || width_of(x, fields) == 0) {
        return "X " + shape_text(x) + " or W1 " + shape_text(w1) + " is empty; only the batch may be 0";
    }
    // Offsets inside an image, and inside W1 and W2, are 32-bit in the kernel.
    double const image = static_cast<double>(channels) * static_cast<double>(height)
        * static_cast<double>(width_of(x, fields));
    double const weights = static_cast<double>(fields.num_strips) * static_cast<double>(channels)
        * static_cast<double>(reduction + 1);
    double const limit = std::numeric_limits<int32_t>::max();
    if (image > limit || weights > limit || static_cast<double>(x.d[0]) > limit) {
        return "X " + shape_text(x) + " or W1 " + shape_text(w1) + " is too large; an image, W1 and the batch may "
            "each have 2^31 - 1 elements";
    }
    return "";
}

// Logs why the shapes are refused, if they are.
bool accepted(StripGateFields fields, Dims const& x, Dims const& w1, Dims const& w2) noexcept {
    try {
        std::string const reason = refusal(fields, x, w1, w2);
        if (!reason.empty()) {
            log_error(reason);
        }
        return reason.empty();
    } catch (std::exception const& error) {
        log_error(error.what());
        return false;
    }
}

bool counts_fit(int32_t inputs, int32_t outputs) {
    if (inputs == kInputCount && outputs == kOutputCount) {
        return true;
    }
    log_error("got " + std::to_string(inputs) + " inputs and " + std::to_string(outputs)
        + " outputs; expected X, W1, W2 and Y");
    return false;
}

StripGateShape shape_of(StripGateFields fields, Dims const& x, Dims const& w1) {
    return {static_cast<int32_t>(x.d[0]), static_cast<int32_t>(channels_of(x, fields)),
        static_cast<int32_t>(height_of(x, fields)), static_cast<int32_t>(width_of(x, fields)), fields.num_strips,
        static_cast<int32_t>(w1.d[1]), fields.channels_last != 0,
        static_cast<int32_t>(channels_of(x, fields))};
}

ElementType element_type(PluginTensorDesc const& tensor) {
    return tensor.type == DataType::kHALF ? ElementType::kHalf : ElementType::kFloat;
}

StripGateTypes types_of(PluginTensorDesc const& x, PluginTensorDesc const& w1) {
    return {element_type(x), element_type(w1)};
}

// The dimensions of a symbolic shape; kUnknown where they depend on the input.
Dims constant_dims(nvinfer1::DimsExprs const& shape) {
    Dims dims{};
    dims.nbDims = shape.nbDims;
    for (int32_t i = 0; i < shape.nbDims; ++i) {
        dims.d[i] = shape.d[i]->isConstant() ? shape.d[i]->getConstantValue() : kUnknown;
    }
    return dims;
}

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

// The attributes, or nothing with the reason logged. Fields of other names are not ours and are passed over: parsers
// add the node's plugin_namespace and plugin_version.
std::optional<StripGateFields> parse(nvinfer1::PluginFieldCollection const& fields) {
    int64_t strips = 0;
    int64_t channels_last = 0;
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        PluginField const& field = fields.fields[i];
        bool const is_strips = std::strcmp(field.name, "num_strips") == 0;
        if (!is_strips && std::strcmp(field.name, "channels_last") != 0) {
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

}  // namespace

void log_error(std::string const& message) noexcept {
    try {
        std::string const text = "StripGate: " + message;
        ErrorHandler const handler = error_handler.load();
        if (handler != nullptr) {
            handler(text.c_str());
        } else {
            std::fprintf(stderr, "%s\n", text.c_str());
        }
    } catch (...) {
        std::fputs("StripGate: an error that could not be put into words\n", stderr);
    }
}

StripGatePlugin::StripGatePlugin(StripGateFields fields)
    : fields_(fields)
    , serialised_{PluginField{"num_strips", &fields_.num_strips, PluginFieldType::kINT32, 1},
          PluginField{"channels_last", &fields_.channels_last, PluginFieldType::kINT32, 1}}
    , collection_{static_cast<int32_t>(serialised_.size()), serialised_.data()} {}

nvinfer1::IPluginCapability* StripGatePlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
    switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

nvinfer1::IPluginV3* StripGatePlugin::clone() noexcept {
    try {
        return new StripGatePlugin(*this);
    } catch (std::exception const& error) {
        log_error(error.what());
        return nullptr;
    }
}

nvinfer1::AsciiChar const* StripGatePlugin::getPluginName() const noexcept { return kName; }
nvinfer1::AsciiChar const* StripGatePlugin::getPluginVersion() const noexcept { return kVersion; }
nvinfer1::AsciiChar const* StripGatePlugin::getPluginNamespace() const noexcept { return kNamespace; }

int32_t StripGatePlugin::getNbOutputs() const noexcept { return kOutputCount; }

int32_t StripGatePlugin::getOutputDataTypes(
    DataType* outputs, int32_t outputCount, DataType const* inputs, int32_t inputCount) const noexcept {
    if (!counts_fit(inputCount, outputCount)) {
        return kFailure;
    }
    outputs[0] = inputs[kX];
    return 0;
}

int32_t StripGatePlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t inputCount,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t outputCount,
    nvinfer1::IExprBuilder&) noexcept {
    if (!counts_fit(inputCount, outputCount)
        || !accepted(fields_, constant_dims(inputs[kX]), constant_dims(inputs[kW1]), constant_dims(inputs[kW2]))) {
        return kFailure;
    }
    outputs[0].nbDims = 2;
    outputs[0].d[0] = inputs[kX].d[0];
    outputs[0].d[1] = inputs[kX].d[fields_.channels_last != 0 ? 3 : 1];
    return 0;
}

bool StripGatePlugin::supportsFormatCombination(
    int32_t position, DynamicPluginTensorDesc const* tensors, int32_t inputCount, int32_t outputCount) noexcept {
    if (!counts_fit(inputCount, outputCount)) {
        return false;
    }
    PluginTensorDesc const& tensor = tensors[position].desc;
    DataType const type = tensors[kX].desc.type;
    bool const known = type == DataType::kFLOAT || type == DataType::kHALF;
    return known && tensor.type == type && tensor.format == TensorFormat::kLINEAR;
}

int32_t StripGatePlugin::configurePlugin(DynamicPluginTensorDesc const* inputs, int32_t inputCount,
    DynamicPluginTensorDesc const*, int32_t outputCount) noexcept {
    bool const fits = counts_fit(inputCount, outputCount)
        && accepted(fields_, inputs[kX].desc.dims, inputs[kW1].desc.dims, inputs[kW2].desc.dims)
        && accepted(fields_, inputs[kX].max, inputs[kW1].max, inputs[kW2].max);
    return fits ? 0 : kFailure;
}

size_t StripGatePlugin::getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t, DynamicPluginTensorDesc const*,
    int32_t) const noexcept {
    return strip_gate_workspace_bytes(
        shape_of(fields_, inputs[kX].max, inputs[kW1].max), types_of(inputs[kX].desc, inputs[kW1].desc));
}

int32_t StripGatePlugin::onShapeChange(
    PluginTensorDesc const* inputs, int32_t inputCount, PluginTensorDesc const*, int32_t outputCount) noexcept {
    bool const fits = counts_fit(inputCount, outputCount)
        && accepted(fields_, inputs[kX].dims, inputs[kW1].dims, inputs[kW2].dims);
    return fits ? 0 : kFailure;
}

int32_t StripGatePlugin::enqueue(PluginTensorDesc const* inputDescs, PluginTensorDesc const*, void const* const* inputs,
    void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
    // Everything comes from the arguments, so that one object may serve several contexts and streams at once.
    StripGateShape const shape = shape_of(fields_, inputDescs[kX].dims, inputDescs[kW1].dims);
    StripGateTypes const types = types_of(inputDescs[kX], inputDescs[kW1]);
    char const* const failure
        = launch_strip_gate(shape, types, inputs[kX], inputs[kW1], inputs[kW2], outputs[0], workspace, stream);
    if (failure != nullptr) {
        log_error(std::string("the kernel was not launched: ") + failure);
        return kFailure;
    }
    return 0;
}

nvinfer1::IPluginV3* StripGatePlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

nvinfer1::PluginFieldCollection const* StripGatePlugin::getFieldsToSerialize() noexcept { return &collection_; }

StripGateCreator::StripGateCreator()
    : names_{PluginField{"num_strips", nullptr, PluginFieldType::kINT32, 1},
          PluginField{"channels_last", nullptr, PluginFieldType::kINT32, 1}}
    , collection_{static_cast<int32_t>(names_.size()), names_.data()} {}

nvinfer1::IPluginV3* StripGateCreator::createPlugin(nvinfer1::AsciiChar const*,
    nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept {
    try {
        auto const parsed = fields == nullptr ? std::nullopt : parse(*fields);
        return parsed ? new StripGatePlugin(*parsed) : nullptr;
    } catch (std::exception const& error) {
        log_error(error.what());
        return nullptr;
    }
}

nvinfer1::PluginFieldCollection const* StripGateCreator::getFieldNames() noexcept { return &collection_; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginName() const noexcept { return kName; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginVersion() const noexcept { return kVersion; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginNamespace() const noexcept { return kNamespace; }

}  // namespace lgeu

// What the plugin registry looks for when it loads the library. The library itself never touches the registry: its
// interface is not the same in TensorRT 10 and 11.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& count) noexcept {
    static lgeu::StripGateCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}

// TensorRT offers its logger here, and it is not taken: ILoggerFinder and ILogger have other virtual tables in TensorRT 11
// (and TensorRT-RTX) than in 10, so that a library compiled against the one would crash inside the other.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder*) noexcept {}

// Where errors go instead of standard error; nullptr sends them back there. Called from TensorRT's threads.
extern "C" __attribute__((visibility("default"))) void strip_gate_set_error_handler(
    lgeu::ErrorHandler handler) noexcept {
    lgeu::error_handler.store(handler);
}
