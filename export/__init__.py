"""From a checkpoint to one ONNX file for every runtime."""
