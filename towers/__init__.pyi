from .dssm import DSSM as DSSM
from .tower import Tower as Tower
