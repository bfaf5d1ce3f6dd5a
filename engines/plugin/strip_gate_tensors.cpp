#include "strip_gate_tensors.h"

#include <iterator>
#include <limits>

namespace lgeu {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr char const* kNames[] = {"X", "W1", "W2", "Y"};
constexpr int32_t kHwc8Channels = 8;

bool computes_in(DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF; }

bool laid_out(StripGateFields fields, TensorIndex index, PluginTensorDesc const& tensor) {
    bool const hwc8 = tensor.format == TensorFormat::kHWC8 && tensor.type == DataType::kHALF;
    return tensor.format == TensorFormat::kLINEAR || (hwc8 && index == kX && fields.channels_last == 0);
}

// Later TensorRT versions have more types than 10.3's headers name.
std::string type_text(DataType type) {
    constexpr char const* names[]
        = {"float", "half", "int8", "int32", "bool", "uint8", "fp8", "bfloat16", "int64", "int4"};
    auto const number = static_cast<size_t>(type);
    return number < std::size(names) ? names[number] : "type " + std::to_string(number);
}

std::string format_text(TensorFormat format) {
    switch (format) {
    case TensorFormat::kLINEAR: return "linear";
    case TensorFormat::kHWC8: return "HWC8";
    default: return "number " + std::to_string(static_cast<int32_t>(format));
    }
}

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

// Offsets inside an image, and inside W1 and W2, are 32-bit in the kernel.
bool counts_in_32_bits(StripGateFields fields, Dims const& x, int64_t reduction) {
    double const channels = static_cast<double>(channels_of(x, fields));
    double const image
        = channels * static_cast<double>(height_of(x, fields)) * static_cast<double>(width_of(x, fields));
    double const weights = static_cast<double>(fields.num_strips) * channels * static_cast<double>(reduction + 1);
    double const limit = std::numeric_limits<int32_t>::max();
    return image <= limit && weights <= limit && static_cast<double>(x.d[0]) <= limit;
}

std::string size_refusal(StripGateFields fields, Dims const& x, Dims const& w1, int64_t reduction) {
    std::string const too_large = "X " + shape_text(x) + " or W1 " + shape_text(w1) + " is too large: ";
    if (!counts_in_32_bits(fields, x, reduction)) {
        return too_large + "an image, W1 and the batch may each have 2^31 - 1 elements";
    }
    StripGateShape shape{};
    shape.strips = fields.num_strips;
    shape.reduction = static_cast<int32_t>(reduction);
    char const* const reason = reduction < 0 ? nullptr : strip_gate_refusal(shape);
    return reason == nullptr ? "" : too_large + reason;
}

std::string format_refusal(StripGateFields fields, TensorIndex index, PluginTensorDesc const& tensor) {
    if (laid_out(fields, index, tensor)) {
        return "";
    }
    bool const takes_hwc8 = index == kX && fields.channels_last == 0;
    return std::string(kNames[index]) + " has " + type_text(tensor.type) + " in format " + format_text(tensor.format)
        + "; expected format linear" + (takes_hwc8 ? ", or half in HWC8" : "");
}

}  // namespace

std::string count_refusal(int32_t inputs, int32_t outputs) {
    if (inputs == kInputCount && outputs == kOutputCount) {
        return "";
    }
    return "got " + std::to_string(inputs) + " inputs and " + std::to_string(outputs)
        + " outputs; expected X, W1, W2 and Y";
}

std::string type_refusal(DataType x, DataType w1, DataType w2) {
    if (computes_in(x) && computes_in(w1) && w1 == w2) {
        return "";
    }
    return "X, W1 and W2 have types " + type_text(x) + ", " + type_text(w1) + " and " + type_text(w2)
        + "; expected float or half, W1 and W2 of one type";
}

std::string shape_refusal(StripGateFields fields, Dims const& x, Dims const& w1, Dims const& w2) {
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
    return size_refusal(fields, x, w1, reduction);
}

std::string refusal(StripGateFields fields, PluginTensorDesc const* inputs, PluginTensorDesc const* outputs) {
    PluginTensorDesc const& y = outputs[0];
    std::string reason = type_refusal(inputs[kX].type, inputs[kW1].type, inputs[kW2].type);
    if (reason.empty() && y.type != inputs[kX].type) {
        reason = "Y has type " + type_text(y.type) + "; expected X's, which is " + type_text(inputs[kX].type);
    }
    for (TensorIndex const index : {kX, kW1, kW2, kY}) {
        reason = reason.empty() ? format_refusal(fields, index, index == kY ? y : inputs[index]) : reason;
    }
    return reason.empty() ? shape_refusal(fields, inputs[kX].dims, inputs[kW1].dims, inputs[kW2].dims) : reason;
}

bool supports(StripGateFields fields, TensorIndex index, nvinfer1::DynamicPluginTensorDesc const* tensors) {
    PluginTensorDesc const& tensor = tensors[index].desc;
    bool const like_another = (index != kW2 || tensor.type == tensors[kW1].desc.type)
        && (index != kY || tensor.type == tensors[kX].desc.type);
    return computes_in(tensor.type) && like_another && laid_out(fields, index, tensor);
}

StripGateTypes kernel_types(PluginTensorDesc const& x, PluginTensorDesc const& w1) {
    auto const element = [](DataType type) { return type == DataType::kHALF ? ElementType::kHalf : ElementType::kFloat; };
    return {element(x.type), element(w1.type)};
}

StripGateShape kernel_shape(StripGateFields fields, PluginTensorDesc const& x, PluginTensorDesc const& w1) {
    StripGateShape shape{};
    shape.images = static_cast<int32_t>(x.dims.d[0]);
    shape.channels = static_cast<int32_t>(channels_of(x.dims, fields));
    shape.height = static_cast<int32_t>(height_of(x.dims, fields));
    shape.width = static_cast<int32_t>(width_of(x.dims, fields));
    shape.strips = fields.num_strips;
    shape.reduction = static_cast<int32_t>(w1.dims.d[1]);
    bool const hwc8 = x.format == TensorFormat::kHWC8;
    // The dimensions of a tensor in HWC8 are those of (N, C, H, W) all the same.
    shape.channels_last = hwc8 || fields.channels_last != 0;
    shape.pixel_stride = hwc8 ? (shape.channels + kHwc8Channels - 1) / kHwc8Channels * kHwc8Channels : shape.channels;
    return shape;
}

}  // namespace lgeu
