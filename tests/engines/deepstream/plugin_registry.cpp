// Stands in for libnvinfer: a plugin registry that prints what is registered with it.
#include <NvInferRuntime.h>
#include <NvInferVersion.h>

#include <cstdint>
#include <cstdio>

namespace {

using nvinfer1::AsciiChar;
using nvinfer1::IPluginCreatorInterface;

class PrintingRegistry final : public nvinfer1::IPluginRegistry {
public:
    bool registerCreator(IPluginCreatorInterface& creator, AsciiChar const* name_space) noexcept override {
        auto& one = static_cast<nvinfer1::IPluginCreatorV3One&>(creator);
        std::printf("%s %s in namespace %s, of namespace %s, %s\n", one.getPluginName(), one.getPluginVersion(),
            name_space, one.getPluginNamespace(), creator.getInterfaceInfo().kind);
        std::fflush(stdout);
        return true;
    }
    IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
    IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t*) noexcept { return nullptr; }
    IPluginCreatorInterface* getCreator(AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override { return false; }
#if NV_TENSORRT_MAJOR < 11
    bool registerCreator(nvinfer1::IPluginCreator&, AsciiChar const*) noexcept override { return false; }
    nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override { return nullptr; }
    nvinfer1::IPluginCreator* getPluginCreator(
        AsciiChar const*, AsciiChar const*, AsciiChar const*) noexcept override {
        return nullptr;
    }
    bool deregisterCreator(nvinfer1::IPluginCreator const&) noexcept override { return false; }
#endif
    void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept override {}
    nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool isParentSearchEnabled() const override { return false; }
    void setParentSearchEnabled(bool) override {}
    PluginLibraryHandle loadLibrary(AsciiChar const*) noexcept override { return nullptr; }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    nvinfer1::IPluginResource* acquirePluginResource(
        AsciiChar const*, nvinfer1::IPluginResource*) noexcept override {
        return nullptr;
    }
    int32_t releasePluginResource(AsciiChar const*) noexcept override { return 0; }
};

}  // namespace

extern "C" nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
    static PrintingRegistry registry;
    return &registry;
}
