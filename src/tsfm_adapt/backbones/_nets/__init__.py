"""Networks written here, where upstream cannot be installed beside the other families."""
