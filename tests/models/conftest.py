from family import kernel_set  # noqa: F401 - a fixture
from helpers import backend_of_models as backend  # noqa: F401 - a fixture
