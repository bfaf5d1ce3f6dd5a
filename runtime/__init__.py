"""The ground floor: from an engine or ONNX file and crops to embeddings. Never imports torch."""
