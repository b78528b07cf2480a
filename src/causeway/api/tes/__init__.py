"""The GA4GH TES door: tasks of the Task Execution Service, version 1.1, as jobs of the federation.

    routes     the operations, and who may ask for them
    intake     a task's text, local files and program -> artefacts and a submission
    looks      what was sent, what the commands said and sent, read back from where it is kept
    handover   outputs that the centre writes to folders which the operator opened
    program    runs the task at the island, with `storage` for http(s) and S3; not imported here

What a task means as a job, and a job as a task, is pure and stands in `spec/tes*.py`.
"""

from causeway.api.tes.handover import Handovers
from causeway.api.tes.looks import Documents
from causeway.api.tes.routes import PREFIX, routes

__all__ = ["PREFIX", "Documents", "Handovers", "routes"]
