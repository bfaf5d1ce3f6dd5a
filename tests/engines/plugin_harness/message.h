// What went wrong last in this thread: the plugin's own words, and the harness's.
#pragma once

#include <string>

void keep_message(char const* message);
// The message, which is then forgotten.
std::string take_message();
