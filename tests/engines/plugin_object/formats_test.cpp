// Types and formats: which are supported, and how the others are refused.
#include "check.h"
#include "descriptions.h"
#include "plugin.h"
#include "tests.h"

#include <set>

using namespace nvinfer1;

namespace {

constexpr int32_t kTypes = 10;
constexpr int32_t kFormats = 13;

std::string text(PluginTensorDesc const& tensor) {
    bool const half = tensor.type == DataType::kHALF;
    CHECK(half || tensor.type == DataType::kFLOAT);
    CHECK(tensor.format == TensorFormat::kLINEAR || tensor.format == TensorFormat::kHWC8);
    return std::string(half ? "half" : "float") + (tensor.format == TensorFormat::kHWC8 ? "/hwc8 " : " ");
}

// Every combination of types and formats of X, W1, W2 and Y that is supported, found as TensorRT finds them: position
// by position, those before it already accepted. Tensors after it hold nonsense, which must not be looked at.
void walk(Gate const& gate, std::vector<DynamicPluginTensorDesc>& tensors, int32_t position,
    std::set<std::string>& found) {
    if (position == 4) {
        std::string combination;
        for (auto const& tensor : tensors) {
            combination += text(tensor.desc);
        }
        found.insert(combination);
        return;
    }
    PluginTensorDesc& here = tensors[static_cast<size_t>(position)].desc;
    for (int32_t type = 0; type < kTypes; ++type) {
        for (int32_t format = 0; format < kFormats; ++format) {
            here.type = static_cast<DataType>(type);
            here.format = static_cast<TensorFormat>(format);
            if (gate.build->supportsFormatCombination(position, tensors.data(), 3, 1)) {
                walk(gate, tensors, position + 1, found);
                here.type = static_cast<DataType>(type);
                here.format = static_cast<TensorFormat>(format);
            }
        }
    }
    here.type = DataType::kBOOL;
    here.format = TensorFormat::kDLA_LINEAR;
}

void test_combinations(IPluginCreatorV3One& creator) {
    auto tensors = building({});
    std::set<std::string> first, last;
    walk(make(creator, 4), tensors, 0, first);
    walk(make(creator, 4, 1), tensors, 0, last);
    CHECK((first == std::set<std::string>{"float float float float ", "float half half float ",
        "half float float half ", "half half half half ", "half/hwc8 float float half ", "half/hwc8 half half half "}));
    CHECK((last == std::set<std::string>{"float float float float ", "float half half float ",
        "half float float half ", "half half half half "}));
    CHECK(last_message.empty());  // a format that is not supported is no error: TensorRT goes on to the next
}

void test_output_types(IPluginCreatorV3One& creator) {
    Gate const gate = make(creator, 4);
    CHECK(gate.build->getNbOutputs() == 1);
    DataType const types[] = {DataType::kFLOAT, DataType::kHALF, DataType::kINT8, DataType::kBF16};
    auto const computed = [](DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF; };
    for (DataType x : types) {
        for (DataType w1 : types) {
            for (DataType w2 : types) {
                DataType const inputs[] = {x, w1, w2};
                DataType output = DataType::kBOOL;
                bool const accepted = gate.build->getOutputDataTypes(&output, 1, inputs, 3) == 0;
                CHECK(accepted == (computed(x) && computed(w1) && w1 == w2));
                CHECK(accepted ? output == x : logged("expected float or half, W1 and W2 of one type"));
            }
        }
    }
    DataType const inputs[] = {DataType::kBF16, DataType::kINT8, static_cast<DataType>(12)};
    DataType output{};
    CHECK(gate.build->getOutputDataTypes(&output, 1, inputs, 3) != 0
        && logged("X, W1 and W2 have types bfloat16, int8 and type 12"));
    CHECK(gate.build->getOutputDataTypes(&output, 1, inputs, 2) != 0 && logged("got 2 inputs"));
}

// Before it runs, each tensor's description is checked once more, wherever it comes from.
void test_descriptions(IPluginCreatorV3One& creator) {
    Gate const first = make(creator, 4);
    Gate const last = make(creator, 4, 1);
    auto const refuses = [](Gate const& gate, Problem const& problem, size_t position, DataType type,
                             TensorFormat format, char const* reason) {
        auto dynamic = building(problem);
        auto concrete = running(problem, problem.max);
        dynamic[position].desc.type = concrete[position].type = type;
        dynamic[position].desc.format = concrete[position].format = format;
        CHECK(gate.build->configurePlugin(dynamic.data(), 3, dynamic.data() + 3, 1) != 0 && logged(reason));
        CHECK(gate.runtime->onShapeChange(concrete.data(), 3, concrete.data() + 3, 1) != 0 && logged(reason));
    };
    Problem const nhwc{{-1, 8, 4, 64}, {32, 8, 4, 64}};
    auto const half = DataType::kHALF;
    Problem full;
    full.type = DataType::kFLOAT;
    refuses(first, {}, 0, half, TensorFormat::kCHW4, "X has half in format number 3; expected format linear, or half in");
    refuses(first, full, 0, full.type, TensorFormat::kHWC8, "X has float in format HWC8");
    refuses(last, nhwc, 0, half, TensorFormat::kHWC8, "X has half in format HWC8; expected format linear");
    refuses(first, {}, 1, half, TensorFormat::kHWC8, "W1 has half in format HWC8; expected format linear");
    refuses(first, {}, 2, DataType::kFLOAT, TensorFormat::kLINEAR, "types half, half and float");
    refuses(first, {}, 3, DataType::kFLOAT, TensorFormat::kLINEAR, "Y has type float; expected X's, which is half");
    refuses(first, {}, 3, half, TensorFormat::kHWC8, "Y has half in format HWC8");
    auto const tensors = running({{}, {}, {4, 16, 60}, {4, 60, 16}, half, DataType::kFLOAT, TensorFormat::kHWC8},
        {3, 60, 8, 4});
    CHECK(first.runtime->onShapeChange(tensors.data(), 3, tensors.data() + 3, 1) == 0);
}

}  // namespace

void test_types_and_formats(IPluginCreatorV3One& creator) {
    test_combinations(creator);
    test_output_types(creator);
    test_descriptions(creator);
}
