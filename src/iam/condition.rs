//! Condition operators, keys and values, three-valued.
