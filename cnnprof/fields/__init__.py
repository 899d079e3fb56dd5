"""Which input pixels an element of a tensor can depend on: the arithmetic along one axis, on whole tensors, and per operator."""
