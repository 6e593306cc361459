"""Every architecture under one reduced protocol, on several sets; the tables of docs/models.md.

``protocol`` says what is compared, ``run`` trains and measures one network on one set and writes a JSON file,
``table`` makes the tables out of those files. A pair whose file is there is not run again.
"""
