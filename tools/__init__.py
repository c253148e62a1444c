"""Commands, one a file: parse, load, call one function, print."""
