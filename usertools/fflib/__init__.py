# SPDX-License-Identifier: MIT
"""What the user tools share: namespaces, the lab, benchmarks, tables."""
