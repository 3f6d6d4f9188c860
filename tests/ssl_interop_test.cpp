// SPDX-License-Identifier: Apache-2.0
#include "stream_support.hpp"
