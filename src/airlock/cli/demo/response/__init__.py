"""`airlock demo incident`: an attack on a running gateway, from the first guess to the closed review."""
