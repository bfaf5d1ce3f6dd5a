// StripGate as a TensorRT plugin in namespace "lgeu", for TensorRT 10.3 to 11.
#pragma once

#include "strip_gate_fields.h"

#include <NvInferRuntime.h>

#include <array>

namespace lgeu {

// Of the ONNX domain's operator set; nodes and plans ask the plugin registry for it.
constexpr char const* kOperatorVersion = "1";

class StripGatePlugin final : public nvinfer1::IPluginV3,
                              public nvinfer1::IPluginV3OneCore,
                              public nvinfer1::IPluginV3OneBuild,
                              public nvinfer1::IPluginV3OneRuntime {
public:
    explicit StripGatePlugin(StripGateFields fields);
    // The serialised fields point into the object, so that a copy has to build its own.
    StripGatePlugin(StripGatePlugin const& other) : StripGatePlugin(other.fields_) {}
    StripGatePlugin& operator=(StripGatePlugin const&) = delete;
    ~StripGatePlugin() override = default;

    // IPluginV3
    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    // IPluginV3OneCore
    nvinfer1::AsciiChar const* getPluginName() const noexcept override;
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override;
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override;

    // IPluginV3OneBuild
    int32_t getNbOutputs() const noexcept override;
    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t outputCount, nvinfer1::DataType const* inputs,
        int32_t inputCount) const noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t inputCount,
        nvinfer1::DimsExprs const* shapeInputs, int32_t shapeInputCount, nvinfer1::DimsExprs* outputs,
        int32_t outputCount, nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors,
        int32_t inputCount, int32_t outputCount) noexcept override;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t inputCount,
        nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t outputCount) noexcept override;
    size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t inputCount,
        nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t outputCount) const noexcept override;

    // IPluginV3OneRuntime
    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t inputCount,
        nvinfer1::PluginTensorDesc const* outputs, int32_t outputCount) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDescs, nvinfer1::PluginTensorDesc const* outputDescs,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    StripGateFields const fields_;
    std::array<nvinfer1::PluginField, 2> serialised_;
    nvinfer1::PluginFieldCollection collection_;
};

class StripGateCreator final : public nvinfer1::IPluginCreatorV3One {
public:
    StripGateCreator();
    nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* name, nvinfer1::PluginFieldCollection const* fields,
        nvinfer1::TensorRTPhase phase) noexcept override;
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override;
    nvinfer1::AsciiChar const* getPluginName() const noexcept override;
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override;
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override;

private:
    std::array<nvinfer1::PluginField, 2> names_;
    nvinfer1::PluginFieldCollection collection_;
};

}  // namespace lgeu
