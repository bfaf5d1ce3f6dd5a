# LGEU-ReID on an x86 machine with an NVIDIA GPU and a current TensorRT: the plugin, the command line, trtexec. It
# builds and runs engines; training and export need torch (pip install 'lgeu-reid[export]').
#
#   docker build --tag lgeu-reid .
#   docker run --rm --gpus all --volume "$PWD:/data" lgeu-reid lgeu build /data/model.onnx --batch 1:32:64
#   docker run --rm --gpus all --volume "$PWD:/data" lgeu-reid \
#     scripts/verify_tensorrt.sh --data /data/market1501 --out /data/verify /data/model.onnx /data/model.fp16.onnx
ARG TENSORRT_IMAGE=nvcr.io/nvidia/tensorrt:25.10-py3
FROM ${TENSORRT_IMAGE}

WORKDIR /opt/lgeu-reid

# The release of the base image fixes CMake's version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ \
    && rm -rf /var/lib/apt/lists/*

# The plugin first: it changes less often than the Python around it. GPUs to compile for, e.g. "89;90"; empty: all.
ARG STRIP_GATE_ARCHITECTURES=
COPY engines/plugin engines/plugin
COPY scripts/build_plugin.sh scripts/fetch_tensorrt_headers.sh scripts/
RUN scripts/build_plugin.sh "-DSTRIP_GATE_ARCHITECTURES=${STRIP_GATE_ARCHITECTURES}"

# TensorRT's own Python package is the image's.
COPY . .
RUN python3 -m pip install --no-cache-dir --editable '.[cli,eval,report,engines,onnxruntime]' \
      'cuda-python>=12.6,<14' 'pytest>=8,<10' 'hypothesis>=6.100,<7' \
    && python3 -m pytest -m 'not gpu' tests/runtime tests/eval tests/engines

CMD ["lgeu", "--help"]
