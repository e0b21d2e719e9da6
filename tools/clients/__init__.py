"""Programs of others against the server with the tiny model: `make clients`."""
