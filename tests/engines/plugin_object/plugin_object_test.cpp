// Drives libstrip_gate.so through TensorRT's real interfaces, as TensorRT would, without any TensorRT library.
//   plugin_object_test <libstrip_gate.so>    exit status 0, or the first failed line on standard error
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <vector>

using namespace nvinfer1;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "line %d: %s\nlast message: %s\n", __LINE__, #condition, last_message.c_str());       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)

namespace {

std::string last_message;

void collect(char const* message) { last_message = message; }

bool logged(char const* part) {
    bool const found = last_message.find(part) != std::string::npos;
    if (!found) {
        std::fprintf(stderr, "expected '%s' in the log\n", part);
    }
    last_message.clear();
    return found;
}

// Symbolic dimensions as the builder makes them: constants, or unknown (negative).
class Expression final : public IDimensionExpr {
public:
    explicit Expression(int64_t value) : value_(value) { mImpl = &value_; }
    ~Expression() noexcept override = default;

private:
    class Value final : public apiv::VDimensionExpr {
    public:
        explicit Value(int64_t value) : value_(value) {}
        bool isConstant() const override { return value_ >= 0; }
        int64_t getConstantValue() const override { return value_; }
        bool isSizeTensor() const override { return false; }

    private:
        int64_t value_;
    } value_;
};

class Builder final : public IExprBuilder {
public:
    ~Builder() noexcept override = default;
};

using Shape = std::vector<int64_t>;

Dims dims(Shape const& shape) {
    Dims result{};
    result.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
        result.d[i] = shape[i];
    }
    return result;
}

PluginTensorDesc tensor(Shape const& shape, DataType type, TensorFormat format = TensorFormat::kLINEAR) {
    return PluginTensorDesc{dims(shape), type, format, 1.0F};
}

DynamicPluginTensorDesc dynamic(Shape const& shape, Shape const& max, DataType type) {
    DynamicPluginTensorDesc result{};
    result.desc = tensor(shape, type);
    result.min = result.opt = result.max = dims(max);
    return result;
}

std::vector<PluginTensorDesc> concrete(Shape const& x, Shape const& w1, Shape const& w2, DataType type) {
    return {tensor(x, type), tensor(w1, type), tensor(w2, type), tensor({x[0], w2[1]}, type)};
}

std::vector<DynamicPluginTensorDesc> building(Shape x, Shape const& w1, Shape const& w2, int64_t max_batch) {
    Shape max = x;
    max[0] = max_batch;
    auto const type = DataType::kHALF;
    return {dynamic(x, max, type), dynamic(w1, w1, type), dynamic(w2, w2, type),
        dynamic({x[0], w2[1]}, {max_batch, w2[1]}, type)};
}

// Keeps the expressions that the symbolic shapes point to.
class Symbols {
public:
    DimsExprs shape(Shape const& values) {
        DimsExprs result{};
        result.nbDims = static_cast<int32_t>(values.size());
        for (size_t i = 0; i < values.size(); ++i) {
            result.d[i] = &expressions_.emplace_back(values[i]);
        }
        return result;
    }

private:
    std::deque<Expression> expressions_;
};

PluginFieldCollection collection(std::vector<PluginField> const& fields) {
    return {static_cast<int32_t>(fields.size()), fields.data()};
}

struct Capabilities {
    explicit Capabilities(IPluginV3* object)
        : plugin(object)
        , core(static_cast<IPluginV3OneCore*>(object->getCapabilityInterface(PluginCapabilityType::kCORE)))
        , build(static_cast<IPluginV3OneBuild*>(object->getCapabilityInterface(PluginCapabilityType::kBUILD)))
        , runtime(static_cast<IPluginV3OneRuntime*>(object->getCapabilityInterface(PluginCapabilityType::kRUNTIME))) {}
    std::unique_ptr<IPluginV3> plugin;
    IPluginV3OneCore* core;
    IPluginV3OneBuild* build;
    IPluginV3OneRuntime* runtime;
};

int32_t serialised(IPluginV3OneRuntime& runtime, char const* name) {
    PluginFieldCollection const& fields = *runtime.getFieldsToSerialize();
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        if (std::strcmp(fields.fields[i].name, name) == 0) {
            CHECK(fields.fields[i].type == PluginFieldType::kINT32 && fields.fields[i].length == 1);
            return *static_cast<int32_t const*>(fields.fields[i].data);
        }
    }
    return -1;
}

IPluginCreatorV3One& load_creator(char const* path) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::exit(1);
    }
    using GetCreators = IPluginCreatorInterface* const* (*)(int32_t&);
    using SetErrorHandler = void (*)(void (*)(char const*));
    auto const get_creators = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
    auto const set_error_handler
        = reinterpret_cast<SetErrorHandler>(dlsym(library, "strip_gate_set_error_handler"));
    CHECK(get_creators != nullptr && set_error_handler != nullptr && dlsym(library, "setLoggerFinder") != nullptr);
    set_error_handler(&collect);
    int32_t count = 0;
    IPluginCreatorInterface* const* const creators = get_creators(count);
    CHECK(count == 1);
    CHECK(std::strcmp(creators[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
    return *static_cast<IPluginCreatorV3One*>(creators[0]);
}

Capabilities make(IPluginCreatorV3One& creator, int32_t strips, int32_t channels_last = 0) {
    std::vector<PluginField> const fields{{"num_strips", &strips, PluginFieldType::kINT32, 1},
        {"channels_last", &channels_last, PluginFieldType::kINT32, 1}};
    auto const given = collection(fields);
    IPluginV3* const plugin = creator.createPlugin("gate", &given, TensorRTPhase::kBUILD);
    CHECK(plugin != nullptr);
    return Capabilities(plugin);
}

void test_creator(IPluginCreatorV3One& creator) {
    CHECK(std::strcmp(creator.getPluginName(), "StripGate") == 0);
    CHECK(std::strcmp(creator.getPluginVersion(), "1") == 0);
    CHECK(std::strcmp(creator.getPluginNamespace(), "lgeu") == 0);
    std::string names;
    for (int32_t i = 0; i < creator.getFieldNames()->nbFields; ++i) {
        names += std::string(creator.getFieldNames()->fields[i].name) + " ";
    }
    CHECK(names == "num_strips channels_last ");
}

void test_fields(IPluginCreatorV3One& creator) {
    int64_t const wide_strips = 4;
    int32_t const zero = 0;
    int32_t const two = 2;
    float const fraction = 4.0F;
    auto const create = [&](std::vector<PluginField> const& fields) {
        auto const given = collection(fields);
        return std::unique_ptr<IPluginV3>(creator.createPlugin("gate", &given, TensorRTPhase::kRUNTIME));
    };
    // As a parser may pass them: 64-bit, with the node's plugin attributes, and channels_last left out.
    CHECK(create({{"plugin_namespace", "lgeu", PluginFieldType::kCHAR, 4},
        {"num_strips", &wide_strips, PluginFieldType::kINT64, 1}, {"plugin_version", "1", PluginFieldType::kCHAR, 1}}));
    CHECK(!create({}) && logged("num_strips is 0 or missing"));
    CHECK(!create({{"num_strips", &zero, PluginFieldType::kINT32, 1}}) && logged("num_strips is 0"));
    CHECK(!create({{"num_strips", &fraction, PluginFieldType::kFLOAT32, 1}}) && logged("not a single 32- or 64-bit"));
    CHECK(!create({{"num_strips", &two, PluginFieldType::kINT32, 1}, {"channels_last", &two, PluginFieldType::kINT32, 1}})
        && logged("channels_last is 2"));
}

void test_clones(IPluginCreatorV3One& creator) {
    auto original = std::make_unique<Capabilities>(make(creator, 4, 1));
    CHECK(std::strcmp(original->core->getPluginName(), "StripGate") == 0);
    CHECK(std::strcmp(original->core->getPluginVersion(), "1") == 0);
    CHECK(std::strcmp(original->core->getPluginNamespace(), "lgeu") == 0);
    Capabilities copy(original->plugin->clone());
    Capabilities attached(original->runtime->attachToContext(nullptr));
    CHECK(copy.plugin.get() != original->plugin.get() && attached.plugin.get() != original->plugin.get());
    original.reset();  // what a copy serialises must not lie in the original
    for (Capabilities* plugin : {&copy, &attached}) {
        CHECK(serialised(*plugin->runtime, "num_strips") == 4 && serialised(*plugin->runtime, "channels_last") == 1);
    }
    auto* const again = creator.createPlugin("gate", copy.runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
    CHECK(again != nullptr);
    CHECK(serialised(*Capabilities(again).runtime, "num_strips") == 4);
}

void test_types_and_formats(IPluginCreatorV3One& creator) {
    Capabilities const gate = make(creator, 4);
    CHECK(gate.build->getNbOutputs() == 1);
    DataType output{};
    DataType const half[] = {DataType::kHALF, DataType::kHALF, DataType::kHALF};
    CHECK(gate.build->getOutputDataTypes(&output, 1, half, 3) == 0 && output == DataType::kHALF);
    CHECK(gate.build->getOutputDataTypes(&output, 1, half, 2) != 0 && logged("got 2 inputs"));
    auto const supported = [&](int32_t position, DataType x, DataType here, TensorFormat format) {
        auto tensors = building({-1, 64, 8, 4}, {4, 16, 64}, {4, 64, 16}, 8);
        tensors[0].desc.type = x;
        tensors[static_cast<size_t>(position)].desc.type = here;
        tensors[static_cast<size_t>(position)].desc.format = format;
        return gate.build->supportsFormatCombination(position, tensors.data(), 3, 1);
    };
    for (int32_t position = 0; position < 4; ++position) {
        for (DataType type : {DataType::kFLOAT, DataType::kHALF}) {
            CHECK(supported(position, type, type, TensorFormat::kLINEAR));
            CHECK(!supported(position, type, type, TensorFormat::kHWC8));
        }
        CHECK(!supported(position, DataType::kINT8, DataType::kINT8, TensorFormat::kLINEAR));
        CHECK(position == 0 || !supported(position, DataType::kHALF, DataType::kFLOAT, TensorFormat::kLINEAR));
    }
}

void test_output_shape(IPluginCreatorV3One& creator) {
    Symbols symbols;
    Builder builder;
    DimsExprs output{};
    auto const infer = [&](Capabilities const& gate, Shape const& x, int32_t count = 3) {
        DimsExprs const inputs[] = {symbols.shape(x), symbols.shape({4, 16, 64}), symbols.shape({4, 64, 16})};
        output = {};
        int32_t const status = gate.build->getOutputShapes(inputs, count, nullptr, 0, &output, 1, builder);
        CHECK(status != 0 || (output.nbDims == 2 && output.d[0] == inputs[0].d[0]));
        return status;
    };
    Capabilities const first = make(creator, 4);
    Capabilities const last = make(creator, 4, 1);
    CHECK(infer(first, {-1, 64, 8, 4}) == 0 && output.d[1]->getConstantValue() == 64);
    CHECK(infer(last, {-1, 8, 4, 64}) == 0 && output.d[1]->getConstantValue() == 64);
    CHECK(infer(first, {-1, 64, -1, -1}) == 0);
    CHECK(infer(first, {-1, 64, 6, 4}) != 0 && logged("X has 6 rows"));
    CHECK(infer(first, {-1, 64, 8, 4}, 2) != 0 && logged("got 2 inputs"));
}

void test_build_shapes(IPluginCreatorV3One& creator) {
    Capabilities const gate = make(creator, 4);
    auto const configure = [&](std::vector<DynamicPluginTensorDesc> const& tensors) {
        return gate.build->configurePlugin(tensors.data(), 3, tensors.data() + 3, 1);
    };
    CHECK(configure(building({-1, 64, 8, 4}, {4, 16, 64}, {4, 64, 16}, 32)) == 0);
    CHECK(configure(building({-1, 64, 6, 4}, {4, 16, 64}, {4, 64, 16}, 32)) != 0
        && logged("X has 6 rows; expected a positive multiple of num_strips = 4"));
    CHECK(configure(building({-1, 64, 8, 4}, {2, 16, 64}, {4, 64, 16}, 32)) != 0 && logged("(2, 16, 64)"));
    CHECK(configure(building({-1, 64, 8, 4}, {4, 16, 64}, {4, 64, 8}, 32)) != 0 && logged("(4, 64, 8)"));
    CHECK(configure(building({-1, 32, 8, 4}, {4, 16, 64}, {4, 64, 16}, 32)) != 0 && logged("channels of X"));
    CHECK(configure(building({-1, 64, 8}, {4, 16, 64}, {4, 64, 16}, 32)) != 0 && logged("expected 4, 3 and 3"));

    auto const workspace = [&](std::vector<DynamicPluginTensorDesc> const& tensors) {
        return gate.build->getWorkspaceSize(tensors.data(), 3, tensors.data() + 3, 1);
    };
    // Few channels need none; otherwise strip means, and partial sums of every 64 channels, for the largest batch.
    CHECK(workspace(building({-1, 64, 8, 4}, {4, 16, 64}, {4, 64, 16}, 32)) == 0);
    CHECK(workspace(building({-1, 2048, 8, 4}, {4, 16, 2048}, {4, 2048, 16}, 32)) == 32u * 4 * (2048 + 32 * 16) * 4);
}

void test_run_time_shapes(IPluginCreatorV3One& creator) {
    Capabilities const gate = make(creator, 4);
    Capabilities const last = make(creator, 4, 1);
    auto const change = [](Capabilities const& plugin, std::vector<PluginTensorDesc> const& tensors) {
        return plugin.runtime->onShapeChange(tensors.data(), 3, tensors.data() + 3, 1);
    };
    Shape const w1{4, 16, 64}, w2{4, 64, 16};
    CHECK(change(gate, concrete({0, 64, 8, 4}, w1, w2, DataType::kHALF)) == 0);
    CHECK(change(gate, concrete({7, 64, 8, 4}, w1, w2, DataType::kFLOAT)) == 0);
    CHECK(change(last, concrete({7, 8, 4, 64}, w1, w2, DataType::kFLOAT)) == 0);
    CHECK(change(last, concrete({7, 64, 8, 4}, w1, w2, DataType::kFLOAT)) != 0 && logged("channels of X"));
    CHECK(change(gate, concrete({7, 64, 9, 4}, w1, w2, DataType::kFLOAT)) != 0 && logged("9 rows"));
    CHECK(change(gate, concrete({7, 64, 0, 4}, w1, w2, DataType::kFLOAT)) != 0 && logged("0 rows"));
    CHECK(change(gate, concrete({7, 64, 8, 0}, w1, w2, DataType::kFLOAT)) != 0 && logged("is empty"));
}

void test_enqueue_without_work_or_gpu(IPluginCreatorV3One& creator, bool has_gpu) {
    Capabilities const gate = make(creator, 4);
    void const* inputs[] = {nullptr, nullptr, nullptr};
    void* outputs[] = {nullptr};
    auto const run = [&](int64_t batch) {
        auto const tensors = concrete({batch, 64, 8, 4}, {4, 16, 64}, {4, 64, 16}, DataType::kHALF);
        return gate.runtime->enqueue(tensors.data(), tensors.data() + 3, inputs, outputs, nullptr, nullptr);
    };
    CHECK(run(0) == 0);
    if (!has_gpu) {
        CHECK(run(1) != 0 && logged("the kernel was not launched"));
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: plugin_object_test <libstrip_gate.so> <gpu|no-gpu>\n");
        return 2;
    }
    IPluginCreatorV3One& creator = load_creator(argv[1]);
    test_creator(creator);
    test_fields(creator);
    test_clones(creator);
    test_types_and_formats(creator);
    test_output_shape(creator);
    test_build_shapes(creator);
    test_run_time_shapes(creator);
    test_enqueue_without_work_or_gpu(creator, std::strcmp(argv[2], "gpu") == 0);
    return 0;
}
