// Tensors as TensorRT describes them to a plugin: concrete, with the bounds of a profile, and symbolic.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <deque>
#include <vector>

using Shape = std::vector<int64_t>;
using nvinfer1::DataType;
using nvinfer1::TensorFormat;

inline nvinfer1::Dims dims(Shape const& shape) {
    nvinfer1::Dims result{};
    result.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
        result.d[i] = shape[i];
    }
    return result;
}

inline nvinfer1::PluginTensorDesc tensor(
    Shape const& shape, DataType type, TensorFormat format = TensorFormat::kLINEAR) {
    return nvinfer1::PluginTensorDesc{dims(shape), type, format, 1.0F};
}

// What the operator is given at build time: the network's shapes (-1 where dynamic) and the profile's bounds.
struct Problem {
    Shape x{-1, 64, 8, 4};
    Shape max{32, 64, 8, 4};
    Shape w1{4, 16, 64};
    Shape w2{4, 64, 16};
    DataType type = DataType::kHALF;
    DataType weights = DataType::kHALF;
    TensorFormat format = TensorFormat::kLINEAR;
};

inline nvinfer1::DynamicPluginTensorDesc bounded(nvinfer1::PluginTensorDesc const& desc, Shape const& max) {
    nvinfer1::DynamicPluginTensorDesc result{};
    result.desc = desc;
    result.min = result.opt = result.max = dims(max);
    return result;
}

// X, W1, W2 and Y as configurePlugin and supportsFormatCombination are given them.
inline std::vector<nvinfer1::DynamicPluginTensorDesc> building(Problem const& problem) {
    int64_t const channels = problem.w2[1];
    return {bounded(tensor(problem.x, problem.type, problem.format), problem.max),
        bounded(tensor(problem.w1, problem.weights), problem.w1),
        bounded(tensor(problem.w2, problem.weights), problem.w2),
        bounded(tensor({problem.x[0], channels}, problem.type), {problem.max[0], channels})};
}

// The same at run time, for X of shape `x`.
inline std::vector<nvinfer1::PluginTensorDesc> running(Problem const& problem, Shape const& x) {
    return {tensor(x, problem.type, problem.format), tensor(problem.w1, problem.weights),
        tensor(problem.w2, problem.weights), tensor({x[0], problem.w2[1]}, problem.type)};
}

// Symbolic dimensions as the builder makes them: constants, or unknown (negative).
class Expression final : public nvinfer1::IDimensionExpr {
public:
    explicit Expression(int64_t value) : value_(value) { mImpl = &value_; }
    ~Expression() noexcept override = default;

private:
    class Value final : public nvinfer1::apiv::VDimensionExpr {
    public:
        explicit Value(int64_t value) : value_(value) {}
        bool isConstant() const override { return value_ >= 0; }
        int64_t getConstantValue() const override { return value_; }
        bool isSizeTensor() const override { return false; }

    private:
        int64_t value_;
    } value_;
};

class ExpressionBuilder final : public nvinfer1::IExprBuilder {
public:
    ~ExpressionBuilder() noexcept override = default;
};

// Keeps the expressions that the symbolic shapes point to.
class Symbols {
public:
    nvinfer1::DimsExprs shape(Shape const& values) {
        nvinfer1::DimsExprs result{};
        result.nbDims = static_cast<int32_t>(values.size());
        for (size_t i = 0; i < values.size(); ++i) {
            result.d[i] = &expressions_.emplace_back(values[i]);
        }
        return result;
    }

private:
    std::deque<Expression> expressions_;
};
