"""The command line: stdout is data, stderr is talk.

    app        the table of commands, and how errors end
    exits      exit codes and what they mean
    talk       printing: colour, tables, JSON, questions
    figures    numbers with units, as people read them
    sheets     API answers -> lines of text
    jobs, fleet, accounts, host     the commands, imported when they are called

`causeway --help` imports none of httpx, starlette, numpy, sqlalchemy or torch; a test holds that.
"""
