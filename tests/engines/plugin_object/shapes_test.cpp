// Shapes: of the network, of a profile and of a batch; the workspace for them.
#include "check.h"
#include "descriptions.h"
#include "plugin.h"
#include "tests.h"

using namespace nvinfer1;

namespace {

bool configures(Gate const& gate, Problem const& problem) {
    auto const tensors = building(problem);
    return gate.build->configurePlugin(tensors.data(), 3, tensors.data() + 3, 1) == 0;
}

bool changes(Gate const& gate, Problem const& problem, Shape const& x) {
    auto const tensors = running(problem, x);
    return gate.runtime->onShapeChange(tensors.data(), 3, tensors.data() + 3, 1) == 0;
}

size_t workspace(Gate const& gate, Problem const& problem) {
    auto const tensors = building(problem);
    return gate.build->getWorkspaceSize(tensors.data(), 3, tensors.data() + 3, 1);
}

void test_output_shape(IPluginCreatorV3One& creator) {
    Symbols symbols;
    ExpressionBuilder builder;
    DimsExprs output{};
    auto const infer = [&](Gate const& gate, Shape const& x, int32_t count = 3) {
        DimsExprs const inputs[] = {symbols.shape(x), symbols.shape({4, 16, 64}), symbols.shape({4, 64, 16})};
        output = {};
        int32_t const status = gate.build->getOutputShapes(inputs, count, nullptr, 0, &output, 1, builder);
        CHECK(status != 0 || (output.nbDims == 2 && output.d[0] == inputs[0].d[0]));
        return status;
    };
    Gate const first = make(creator, 4);
    Gate const last = make(creator, 4, 1);
    CHECK(infer(first, {-1, 64, 8, 4}) == 0 && output.d[1]->getConstantValue() == 64);
    CHECK(infer(last, {-1, 8, 4, 64}) == 0 && output.d[1]->getConstantValue() == 64);
    CHECK(infer(first, {-1, 64, -1, -1}) == 0);
    CHECK(infer(first, {-1, 64, 6, 4}) != 0 && logged("X has 6 rows"));
    CHECK(infer(first, {-1, 64, 8, 4}, 2) != 0 && logged("got 2 inputs"));
}

void test_profiles(IPluginCreatorV3One& creator) {
    Gate const gate = make(creator, 4);
    CHECK(configures(gate, {}));
    CHECK(configures(gate, {{-1, 64, -1, -1}, {32, 64, 24, 12}}));
    CHECK(!configures(gate, {{-1, 64, 6, 4}, {32, 64, 6, 4}})
        && logged("X has 6 rows; expected a positive multiple of num_strips = 4"));
    CHECK(!configures(gate, {{-1, 64, -1, 4}, {32, 64, 10, 4}}) && logged("X has 10 rows"));
    CHECK(!configures(gate, {{-1, 64, 8, 4}, {32, 64, 8, 4}, {2, 16, 64}}) && logged("(2, 16, 64)"));
    CHECK(!configures(gate, {{-1, 64, 8, 4}, {32, 64, 8, 4}, {4, 16, 64}, {4, 64, 8}}) && logged("(4, 64, 8)"));
    CHECK(!configures(gate, {{-1, 32, 8, 4}, {32, 32, 8, 4}}) && logged("C the channels of X (?, 32, 8, 4)"));
    CHECK(!configures(gate, {{-1, 64, 8}, {32, 64, 8}}) && logged("expected 4, 3 and 3"));
    CHECK(!configures(gate, {{-1, 64, -1, -1}, {1, 64, 8192, 8192}}) && logged("is too large"));
    Problem const many_gates{{-1, 64, 8, 4}, {32, 64, 8, 4}, {4, 100000, 64}, {4, 64, 100000}};
    CHECK(!configures(gate, many_gates) && logged("W1 (4, 100000, 64)") );
}

void test_batches(IPluginCreatorV3One& creator) {
    Gate const gate = make(creator, 4);
    Gate const last = make(creator, 4, 1);
    Problem const full{{}, {}, {4, 16, 64}, {4, 64, 16}, DataType::kFLOAT, DataType::kFLOAT};
    CHECK(changes(gate, {}, {0, 64, 8, 4}));
    CHECK(changes(gate, {}, {32, 64, 24, 12}));
    CHECK(changes(gate, full, {7, 64, 8, 4}));
    CHECK(changes(last, full, {7, 8, 4, 64}));
    CHECK(!changes(last, full, {7, 64, 8, 4}) && logged("channels of X"));
    CHECK(!changes(gate, full, {7, 64, 9, 4}) && logged("9 rows"));
    CHECK(!changes(gate, full, {7, 64, 0, 4}) && logged("0 rows"));
    CHECK(!changes(gate, full, {7, 64, 8, 0}) && logged("is empty"));
    // Shapes of one context do not touch those of another.
    Gate const other(gate.runtime->attachToContext(nullptr));
    CHECK(changes(other, {}, {1, 64, 16, 8}) && changes(gate, {}, {5, 64, 8, 4}) && changes(other, {}, {2, 64, 4, 1}));
}

// A context may run any batch up to the largest with the workspace of the largest, whatever the rows and columns.
void test_workspace(IPluginCreatorV3One& creator) {
    Gate const gate = make(creator, 4);
    for (int64_t channels : {8, 60, 512, 2048}) {
        for (DataType type : {DataType::kFLOAT, DataType::kHALF}) {
            Problem problem{{-1, channels, -1, -1}, {}, {4, 16, channels}, {4, channels, 16}, type, type};
            size_t last = 0;
            for (int64_t images = 1; images <= 600; ++images) {
                problem.max = {images, channels, 8, 4};
                size_t const bytes = workspace(gate, problem);
                CHECK(bytes >= last);
                last = bytes;
            }
            problem.max = {600, channels, 16, 8};
            CHECK(workspace(gate, problem) >= last);
        }
    }
}

}  // namespace

void test_shapes(IPluginCreatorV3One& creator) {
    test_output_shape(creator);
    test_profiles(creator);
    test_batches(creator);
    test_workspace(creator);
}

void test_enqueue_without_work(IPluginCreatorV3One& creator, bool has_gpu) {
    Gate const gate = make(creator, 4);
    void const* inputs[] = {nullptr, nullptr, nullptr};
    void* outputs[] = {nullptr};
    auto const run = [&](int64_t batch) {
        auto const tensors = running({}, {batch, 64, 8, 4});
        return gate.runtime->enqueue(tensors.data(), tensors.data() + 3, inputs, outputs, nullptr, nullptr);
    };
    CHECK(run(0) == 0);
    if (!has_gpu) {
        CHECK(run(1) != 0 && logged("the kernel was not launched"));
    }
}
