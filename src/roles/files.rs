//! Trust policies from a directory of JSON files.
