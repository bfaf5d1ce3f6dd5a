// What TensorRT's tensor descriptions mean to the operator, and why some are refused.
//
// X is float or half; W1 and W2 are float or half, both the same; Y has X's type. All are linear, except that X may be
// half in TensorRT's kHWC8 format where the operator is channels-first: its memory is then N x H x W x C with C padded
// to a multiple of 8. A refusal is a text that says why; an empty one means that nothing is wrong.
#pragma once

#include "strip_gate_fields.h"
#include "strip_gate_kernel.h"

#include <NvInferRuntime.h>

#include <string>

namespace lgeu {

enum TensorIndex : int32_t { kX = 0, kW1 = 1, kW2 = 2, kY = 3 };
constexpr int32_t kInputCount = 3;
constexpr int32_t kOutputCount = 1;

std::string count_refusal(int32_t inputs, int32_t outputs);
std::string type_refusal(nvinfer1::DataType x, nvinfer1::DataType w1, nvinfer1::DataType w2);

// Dimensions below 0 are not known yet and are let pass.
std::string shape_refusal(StripGateFields fields, nvinfer1::Dims const& x, nvinfer1::Dims const& w1,
    nvinfer1::Dims const& w2);

// Types, formats and shapes of X, W1, W2 (`inputs`) and Y (`outputs`).
std::string refusal(StripGateFields fields, nvinfer1::PluginTensorDesc const* inputs,
    nvinfer1::PluginTensorDesc const* outputs);

// Whether a tensor may have this type and format, given those before it in X, W1, W2, Y.
bool supports(StripGateFields fields, TensorIndex index, nvinfer1::DynamicPluginTensorDesc const* tensors);

// For descriptions that nothing was refused of.
StripGateShape kernel_shape(StripGateFields fields, nvinfer1::PluginTensorDesc const& x,
    nvinfer1::PluginTensorDesc const& w1);
StripGateTypes kernel_types(nvinfer1::PluginTensorDesc const& x, nvinfer1::PluginTensorDesc const& w1);

}  // namespace lgeu
