"""One model specification, and the engines that fit it."""
