"""Element-wise losses and their gradients: one folder an op, tensors in and tensors out."""
