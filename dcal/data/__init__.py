"""From a folder or archive of pictures to seeded batches of tensors."""
