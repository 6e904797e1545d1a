from . import (
    archives as archives,
    entry as entry,
    golden as golden,
    loading as loading,
    publishing as publishing,
    renewal as renewal,
    store as store,
)
from .entry import DamagedFile as DamagedFile, Entry as Entry, ZooError as ZooError
from .loading import (
    download as download,
    info as info,
    list_models as list_models,
    load as load,
    saved_model as saved_model,
    url as url,
)
from .publishing import publish as publish, record_metrics as record_metrics
