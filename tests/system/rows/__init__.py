"""One Row per field of runspec/spec/fields.py: two values, how each is judged from outside, how it drifts."""
