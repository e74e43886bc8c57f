"""The command line: a module for each command, with its flags (``parser``) and what it does.

``spotify-engine`` and the files of ``jobs/`` call the same ones. Modules import little at their
top: help and a wrong flag should not wait for Ray and torch, which take seconds.
"""
