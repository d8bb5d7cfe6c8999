"""How strong the vectors are: the reference with one small change at a time, and the vectors alone to notice it.

making.py    which changes there are (cosmic-ray's operators), and the text of a module with one of them made
trying.py    a change made in a process of its own, and the vectors run until one fails
excuses.py   the changes that no vector can notice, each with a reason: excused.toml
command.py   ``glassgate mutants``: the score by module, and every survivor
page.py      the same as a page of the documentation

A change is made in memory while Python loads the module, and in a child process: no file is ever touched. The tool is
needed for this command only (the extra ``mutation``).
"""
