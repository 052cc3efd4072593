"""Packages: a folder to ship, with the evidence for what it promises."""
