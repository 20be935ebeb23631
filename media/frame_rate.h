#pragma once
#include "core/frame_rate.h"
