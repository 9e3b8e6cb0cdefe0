"""WebShop: a product is to be found in a shop and bought with the right options."""
