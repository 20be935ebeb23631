#include "weights/bind.h"
