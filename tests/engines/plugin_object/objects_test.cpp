// The creator, its fields, and copies of a plugin.
#include "check.h"
#include "plugin.h"
#include "tests.h"

using namespace nvinfer1;

namespace {

// What the object serialises, as text.
std::string serialised(Gate const& gate) {
    PluginFieldCollection const& fields = *gate.runtime->getFieldsToSerialize();
    std::string text;
    for (int32_t i = 0; i < fields.nbFields; ++i) {
        PluginField const& field = fields.fields[i];
        CHECK(field.type == PluginFieldType::kINT32 && field.length == 1);
        text += std::string(field.name) + "=" + std::to_string(*static_cast<int32_t const*>(field.data)) + " ";
    }
    return text;
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
    CHECK(!create({{"num_strips", &two, PluginFieldType::kINT32, 2}}) && logged("not a single 32- or 64-bit"));
    CHECK(!create({{"num_strips", &two, PluginFieldType::kINT32, 1}, {"channels_last", &two, PluginFieldType::kINT32, 1}})
        && logged("channels_last is 2"));
    CHECK(creator.createPlugin("gate", nullptr, TensorRTPhase::kBUILD) == nullptr);
}

// As an engine does: build, serialise, create again, and a copy for each execution context.
void test_copies(IPluginCreatorV3One& creator) {
    auto original = std::make_unique<Gate>(make(creator, 4, 1));
    CHECK(std::strcmp(original->core->getPluginName(), "StripGate") == 0);
    CHECK(std::strcmp(original->core->getPluginVersion(), "1") == 0);
    CHECK(std::strcmp(original->core->getPluginNamespace(), "lgeu") == 0);
    CHECK(serialised(*original) == "num_strips=4 channels_last=1 ");
    Gate const copy(original->plugin->clone());
    Gate const first(original->runtime->attachToContext(nullptr));
    Gate const second(original->runtime->attachToContext(nullptr));
    Gate const copy_of_copy(copy.plugin->clone());
    original.reset();  // what a copy serialises must not lie in the original
    for (Gate const* gate : {&copy, &first, &second, &copy_of_copy}) {
        CHECK(serialised(*gate) == "num_strips=4 channels_last=1 ");
    }
    auto* const again = creator.createPlugin("gate", copy.runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
    CHECK(again != nullptr && serialised(Gate(again)) == "num_strips=4 channels_last=1 ");
}

}  // namespace

void test_objects(IPluginCreatorV3One& creator) {
    test_creator(creator);
    test_fields(creator);
    test_copies(creator);
}
