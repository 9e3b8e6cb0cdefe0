"""WebShop: a product is to be found and bought in a small shop."""
