#include "strip_gate_plugin.h"

#include "strip_gate_log.h"
#include "strip_gate_tensors.h"

#include <exception>
#include <string>

namespace lgeu {
namespace {

using nvinfer1::DataType;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

constexpr char const* kName = "StripGate";
constexpr char const* kNamespace = "lgeu";

constexpr int32_t kFailure = 1;
constexpr int64_t kUnknown = -1;

// The dimensions of a symbolic shape; kUnknown where they depend on the input.
nvinfer1::Dims constant_dims(nvinfer1::DimsExprs const& shape) {
    nvinfer1::Dims dims{};
    dims.nbDims = shape.nbDims;
    for (int32_t i = 0; i < shape.nbDims; ++i) {
        dims.d[i] = shape.d[i]->isConstant() ? shape.d[i]->getConstantValue() : kUnknown;
    }
    return dims;
}

// A tensor at the profile's largest dimensions.
PluginTensorDesc largest(DynamicPluginTensorDesc const& tensor) {
    PluginTensorDesc result = tensor.desc;
    result.dims = tensor.max;
    return result;
}

bool counts_fit(int32_t inputs, int32_t outputs) noexcept {
    return accepted([&] { return count_refusal(inputs, outputs); });
}

}  // namespace

StripGatePlugin::StripGatePlugin(StripGateFields fields)
    : fields_(fields)
    , serialised_(plugin_fields(&fields_))
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
nvinfer1::AsciiChar const* StripGatePlugin::getPluginVersion() const noexcept { return kOperatorVersion; }
nvinfer1::AsciiChar const* StripGatePlugin::getPluginNamespace() const noexcept { return kNamespace; }

int32_t StripGatePlugin::getNbOutputs() const noexcept { return kOutputCount; }

// Types are refused here with their reason: in a strongly typed network these are the types, and the call is made while
// the network is parsed. supportsFormatCombination cannot know whether another combination is still to come.
int32_t StripGatePlugin::getOutputDataTypes(
    DataType* outputs, int32_t outputCount, DataType const* inputs, int32_t inputCount) const noexcept {
    if (!counts_fit(inputCount, outputCount)
        || !accepted([&] { return type_refusal(inputs[kX], inputs[kW1], inputs[kW2]); })) {
        return kFailure;
    }
    outputs[0] = inputs[kX];
    return 0;
}

int32_t StripGatePlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t inputCount,
    nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs, int32_t outputCount,
    nvinfer1::IExprBuilder&) noexcept {
    if (!counts_fit(inputCount, outputCount) || !accepted([&] {
            return shape_refusal(
                fields_, constant_dims(inputs[kX]), constant_dims(inputs[kW1]), constant_dims(inputs[kW2]));
        })) {
        return kFailure;
    }
    outputs[0].nbDims = 2;
    outputs[0].d[0] = inputs[kX].d[0];
    outputs[0].d[1] = inputs[kX].d[fields_.channels_last != 0 ? 3 : 1];
    return 0;
}

// Silent where the answer is no: TensorRT asks about every format it has, and takes the best of those supported.
bool StripGatePlugin::supportsFormatCombination(
    int32_t position, DynamicPluginTensorDesc const* tensors, int32_t inputCount, int32_t outputCount) noexcept {
    return counts_fit(inputCount, outputCount) && supports(fields_, static_cast<TensorIndex>(position), tensors);
}

int32_t StripGatePlugin::configurePlugin(DynamicPluginTensorDesc const* inputs, int32_t inputCount,
    DynamicPluginTensorDesc const* outputs, int32_t outputCount) noexcept {
    if (!counts_fit(inputCount, outputCount)) {
        return kFailure;
    }
    PluginTensorDesc const given[] = {inputs[kX].desc, inputs[kW1].desc, inputs[kW2].desc};
    PluginTensorDesc const most[] = {largest(inputs[kX]), largest(inputs[kW1]), largest(inputs[kW2])};
    bool const fits = accepted([&] { return refusal(fields_, given, &outputs[0].desc); })
        && accepted([&] { return refusal(fields_, most, &outputs[0].desc); });
    return fits ? 0 : kFailure;
}

size_t StripGatePlugin::getWorkspaceSize(DynamicPluginTensorDesc const* inputs, int32_t, DynamicPluginTensorDesc const*,
    int32_t) const noexcept {
    PluginTensorDesc const x = largest(inputs[kX]);
    PluginTensorDesc const w1 = largest(inputs[kW1]);
    return strip_gate_workspace_bytes(kernel_shape(fields_, x, w1), kernel_types(x, w1));
}

int32_t StripGatePlugin::onShapeChange(PluginTensorDesc const* inputs, int32_t inputCount,
    PluginTensorDesc const* outputs, int32_t outputCount) noexcept {
    bool const fits = counts_fit(inputCount, outputCount)
        && accepted([&] { return refusal(fields_, inputs, outputs); });
    return fits ? 0 : kFailure;
}

int32_t StripGatePlugin::enqueue(PluginTensorDesc const* inputDescs, PluginTensorDesc const*, void const* const* inputs,
    void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
    // Everything comes from the arguments, so that one object may serve several contexts and streams at once.
    StripGateShape const shape = kernel_shape(fields_, inputDescs[kX], inputDescs[kW1]);
    StripGateTypes const types = kernel_types(inputDescs[kX], inputDescs[kW1]);
    char const* const failure
        = launch_strip_gate(shape, types, inputs[kX], inputs[kW1], inputs[kW2], outputs[0], workspace, stream);
    return accepted([&] { return failure == nullptr ? "" : std::string("the kernel was not launched: ") + failure; })
        ? 0
        : kFailure;
}

nvinfer1::IPluginV3* StripGatePlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

nvinfer1::PluginFieldCollection const* StripGatePlugin::getFieldsToSerialize() noexcept { return &collection_; }

StripGateCreator::StripGateCreator()
    : names_(plugin_fields(nullptr))
    , collection_{static_cast<int32_t>(names_.size()), names_.data()} {}

nvinfer1::IPluginV3* StripGateCreator::createPlugin(nvinfer1::AsciiChar const*,
    nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept {
    try {
        auto const parsed = fields == nullptr ? std::nullopt : parse_fields(*fields);
        return parsed ? new StripGatePlugin(*parsed) : nullptr;
    } catch (std::exception const& error) {
        log_error(error.what());
        return nullptr;
    }
}

nvinfer1::PluginFieldCollection const* StripGateCreator::getFieldNames() noexcept { return &collection_; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginName() const noexcept { return kName; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginVersion() const noexcept { return kOperatorVersion; }
nvinfer1::AsciiChar const* StripGateCreator::getPluginNamespace() const noexcept { return kNamespace; }

}  // namespace lgeu
