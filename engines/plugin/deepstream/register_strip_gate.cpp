// A library that registers StripGate with TensorRT by being loaded, which is how DeepStream's nvinfer takes plugins: it
// opens `custom-lib-path` with dlopen and nothing more. libstrip_gate.so itself serves every TensorRT because it never
// touches the registry, so this one does; it must be compiled against the headers of the TensorRT it is loaded beside.
// docs/deepstream.md has the command.
#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept;

namespace {

struct Registration {
    Registration() noexcept {
        int32_t count = 0;
        nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
        for (int32_t index = 0; index < count; ++index) {
            if (!getPluginRegistry()->registerCreator(*creators[index], "lgeu")) {
                std::fprintf(stderr, "StripGate: TensorRT did not register the plugin; is it registered already?\n");
            }
        }
    }
};

Registration const registration;

}  // namespace
