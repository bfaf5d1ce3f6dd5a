// What the shared library exports: TensorRT's two entry points, and two of our own for whoever loads it.
#include "strip_gate_log.h"
#include "strip_gate_plugin.h"

#define LGEU_EXPORT extern "C" __attribute__((visibility("default")))

// What the plugin registry looks for when it loads the library. The library itself never touches the registry: its
// interface is not the same in TensorRT 10 and 11.
LGEU_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept {
    static lgeu::StripGateCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}

// TensorRT offers its logger here, and it is not taken: ILoggerFinder and ILogger have other virtual tables in TensorRT 11
// (and TensorRT-RTX) than in 10, so that a library compiled against the one would crash inside the other.
LGEU_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder*) noexcept {}

// Where errors go instead of standard error; nullptr sends them back there. Called from TensorRT's threads.
LGEU_EXPORT void strip_gate_set_error_handler(lgeu::ErrorHandler handler) noexcept { lgeu::set_error_handler(handler); }

// The version of the operator that the library computes, so that one built for another can be refused by name.
LGEU_EXPORT char const* strip_gate_operator_version() noexcept { return lgeu::kOperatorVersion; }
