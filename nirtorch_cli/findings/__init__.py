"""What is reported about a model, and under which code.

In: plain values. Out: `Finding`s, errors that carry them, rules with their pages (`rules.md`),
names and numbers as messages show them.

Always: a code never changes its meaning; text from a stranger's file is shown on one line, with
every unprintable character escaped. Imports no other room, and only the standard library.
"""
