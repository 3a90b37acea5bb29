"""What is said about a model, and under which code.

In: plain values. Out: `Finding`s, errors that carry them, rules with their pages (`rules.md`),
names and numbers as messages show them.

Always: a code never changes its meaning; what is shown of a stranger's file is printable and on
one line. No other room is imported, and nothing beside the standard library.
"""
