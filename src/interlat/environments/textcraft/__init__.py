"""TextCraft: an item is to be crafted from raw ones, by recipes."""
