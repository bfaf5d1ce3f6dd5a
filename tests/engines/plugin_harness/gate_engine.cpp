#include "gate_engine.h"

#include "message.h"

#include <stdexcept>

namespace {

constexpr size_t kElementBytes[] = {sizeof(float), sizeof(float) / 2};

int64_t padded_channels(GateCase const& given) { return given.hwc8 != 0 ? (given.channels + 7) / 8 * 8 : given.channels; }

Problem problem_of(GateCase const& given) {
    Problem problem;
    problem.x = shape_of_x(given, -1);
    problem.max = shape_of_x(given, given.max_images);
    problem.w1 = {given.strips, given.reduction, given.channels};
    problem.w2 = {given.strips, given.channels, given.reduction};
    problem.type = given.half != 0 ? DataType::kHALF : DataType::kFLOAT;
    problem.weights = given.half_weights != 0 ? DataType::kHALF : DataType::kFLOAT;
    problem.format = given.hwc8 != 0 ? TensorFormat::kHWC8 : TensorFormat::kLINEAR;
    return problem;
}

void require(bool accepted, char const* what) {
    if (!accepted) {
        throw std::runtime_error(std::string(what) + " refused: " + take_message());
    }
}

}  // namespace

Shape shape_of_x(GateCase const& given, int64_t images) {
    return given.channels_last != 0 ? Shape{images, given.height, given.width, given.channels}
                                    : Shape{images, given.channels, given.height, given.width};
}

size_t bytes_of_x(GateCase const& given, int64_t images) {
    return static_cast<size_t>(images * padded_channels(given) * given.height * given.width) * kElementBytes[given.half];
}

size_t bytes_of_weights(GateCase const& given) {
    return static_cast<size_t>(given.strips) * static_cast<size_t>(given.reduction)
        * static_cast<size_t>(given.channels) * kElementBytes[given.half_weights];
}

size_t bytes_of_y(GateCase const& given, int64_t images) {
    return static_cast<size_t>(images * given.channels) * kElementBytes[given.half];
}

GateEngine::GateEngine(char const* library, GateCase const& given)
    : given_(given)
    , problem_(problem_of(given)) {
    auto& creator = load_creator(library, &keep_message);
    Gate const built = make(creator, given.strips, given.channels_last);
    auto const tensors = building(problem_);
    DataType const types[] = {problem_.type, problem_.weights, problem_.weights};
    DataType output = DataType::kBOOL;
    require(built.build->getOutputDataTypes(&output, 1, types, 3) == 0, "getOutputDataTypes");
    for (int32_t position = 0; position < 4; ++position) {
        require(built.build->supportsFormatCombination(position, tensors.data(), 3, 1), "supportsFormatCombination");
    }
    require(built.build->configurePlugin(tensors.data(), 3, tensors.data() + 3, 1) == 0, "configurePlugin");
    workspace_bytes_ = built.build->getWorkspaceSize(tensors.data(), 3, tensors.data() + 3, 1);
    auto* const plugin = creator.createPlugin(
        "gate", built.runtime->getFieldsToSerialize(), nvinfer1::TensorRTPhase::kRUNTIME);
    require(plugin != nullptr, "createPlugin");
    plugin_ = std::make_unique<Gate>(plugin);
}

GateContext::GateContext(
    GateEngine const& engine, void const* w1, void const* w2, size_t guard, size_t offset, bool poisoned)
    : engine_(engine)
    , gate_(engine.attach())
    , stream_(device::create_stream())
    , poisoned_(poisoned)
    , x_("X", bytes_of_x(engine.given(), engine.given().max_images), guard, offset, stream_)
    , w1_("W1", bytes_of_weights(engine.given()), guard, offset, stream_)
    , w2_("W2", bytes_of_weights(engine.given()), guard, offset, stream_)
    , y_("Y", bytes_of_y(engine.given(), engine.given().max_images), guard, offset, stream_)
    , workspace_("the workspace", engine.workspace_bytes(), guard, 0, stream_) {
    device::upload(w1_.data(), w1, w1_.bytes(), stream_);
    device::upload(w2_.data(), w2, w2_.bytes(), stream_);
    device::synchronise(stream_);
}

GateContext::~GateContext() {
    if (graph_ != nullptr) {
        device::release_graph(graph_);
    }
    device::destroy_stream(stream_);
}

void GateContext::run(int32_t images, void const* x, void* y) {
    prepare(images, x);
    launch(images);
    finish(images, y);
}

void GateContext::enqueue(int32_t images, int32_t times) {
    for (int32_t i = 0; i < times; ++i) {
        launch(images);
    }
}

void GateContext::capture(int32_t images) {
    device::begin_capture(stream_);
    launch(images);
    graph_ = device::end_capture(stream_);
    captured_images_ = images;
}

void GateContext::replay(void const* x, void* y) {
    prepare(captured_images_, x);
    device::replay(graph_, stream_);
    finish(captured_images_, y);
}

void GateContext::prepare(int32_t images, void const* x) {
    device::upload(x_.data(), x, bytes_of_x(engine_.given(), images), stream_);
    if (poisoned_) {
        y_.poison(stream_);
        workspace_.poison(stream_);
    }
}

void GateContext::launch(int32_t images) {
    auto const tensors = running(engine_.problem(), shape_of_x(engine_.given(), images));
    require(gate_.runtime->onShapeChange(tensors.data(), 3, tensors.data() + 3, 1) == 0, "onShapeChange");
    void const* const inputs[] = {x_.data(), w1_.data(), w2_.data()};
    void* const outputs[] = {y_.data()};
    require(gate_.runtime->enqueue(tensors.data(), tensors.data() + 3, inputs, outputs, workspace_.data(), stream_) == 0,
        "enqueue");
}

void GateContext::finish(int32_t images, void* y) {
    device::download(y, y_.data(), bytes_of_y(engine_.given(), images), stream_);
    device::synchronise(stream_);
    check_guards();
}

void GateContext::check_guards() {
    for (Buffer const* buffer : {&x_, &w1_, &w2_, &y_, &workspace_}) {
        buffer->check_guards(stream_);
    }
}
