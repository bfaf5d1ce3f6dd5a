// The plugin's library, its creator and its objects, as TensorRT takes hold of them.
#pragma once

#include <NvInferRuntime.h>

#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// A plugin object with its capabilities.
struct Gate {
    explicit Gate(nvinfer1::IPluginV3* object)
        : plugin(object)
        , core(capability<nvinfer1::IPluginV3OneCore>(nvinfer1::PluginCapabilityType::kCORE))
        , build(capability<nvinfer1::IPluginV3OneBuild>(nvinfer1::PluginCapabilityType::kBUILD))
        , runtime(capability<nvinfer1::IPluginV3OneRuntime>(nvinfer1::PluginCapabilityType::kRUNTIME)) {}

    std::unique_ptr<nvinfer1::IPluginV3> plugin;
    nvinfer1::IPluginV3OneCore* core;
    nvinfer1::IPluginV3OneBuild* build;
    nvinfer1::IPluginV3OneRuntime* runtime;

private:
    template <typename Capability>
    Capability* capability(nvinfer1::PluginCapabilityType type) {
        return static_cast<Capability*>(plugin->getCapabilityInterface(type));
    }
};

inline nvinfer1::PluginFieldCollection collection(std::vector<nvinfer1::PluginField> const& fields) {
    return {static_cast<int32_t>(fields.size()), fields.data()};
}

// Loads the library, whose messages go to `handler`. Throws std::runtime_error.
inline nvinfer1::IPluginCreatorV3One& load_creator(char const* path, void (*handler)(char const*)) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw std::runtime_error(dlerror());
    }
    using GetCreators = nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&);
    using SetErrorHandler = void (*)(void (*)(char const*));
    auto const get_creators = reinterpret_cast<GetCreators>(dlsym(library, "getCreators"));
    auto const set_error_handler = reinterpret_cast<SetErrorHandler>(dlsym(library, "strip_gate_set_error_handler"));
    if (get_creators == nullptr || set_error_handler == nullptr || dlsym(library, "setLoggerFinder") == nullptr) {
        throw std::runtime_error(std::string(path) + " lacks an entry point");
    }
    set_error_handler(handler);
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* const creators = get_creators(count);
    if (count != 1 || std::strcmp(creators[0]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") != 0) {
        throw std::runtime_error(std::string(path) + " does not have one creator of the kind V3ONE");
    }
    return *static_cast<nvinfer1::IPluginCreatorV3One*>(creators[0]);
}

inline Gate make(nvinfer1::IPluginCreatorV3One& creator, int32_t strips, int32_t channels_last = 0) {
    std::vector<nvinfer1::PluginField> const fields{{"num_strips", &strips, nvinfer1::PluginFieldType::kINT32, 1},
        {"channels_last", &channels_last, nvinfer1::PluginFieldType::kINT32, 1}};
    auto const given = collection(fields);
    nvinfer1::IPluginV3* const plugin = creator.createPlugin("gate", &given, nvinfer1::TensorRTPhase::kBUILD);
    if (plugin == nullptr) {
        throw std::runtime_error("the creator made no plugin");
    }
    return Gate(plugin);
}
