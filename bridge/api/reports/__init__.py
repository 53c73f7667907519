"""Reports for auditors: what a framework asks for, each with the figure that answers it or "not covered".

Ideas:

* A figure is computed from the log, the registry and the policy when the report is asked for; nothing is a constant.
* A figure says what it counts, over which period, and by which query of the log it can be counted again.
* A report never says that a requirement is met: it says what was counted, and how many exceptions there are.
* Texts of requirements are in our own words; the numbers in front are the framework's.
"""
