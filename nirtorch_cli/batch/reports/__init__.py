"""Verdicts as text for people, JUnit, SARIF and GitHub: pure functions, one file a format.

Names in a file are a stranger's: each format escapes them in its own way, after everything
that is not printable was escaped in ours.
"""
