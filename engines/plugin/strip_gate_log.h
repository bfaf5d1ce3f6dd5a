// Where the plugin's complaints go.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace lgeu {

// Receives a message; the text lives during the call only.
using ErrorHandler = void (*)(char const* message);

// Where errors go instead of standard error; nullptr sends them back there.
void set_error_handler(ErrorHandler handler) noexcept;

// Gives `message` to the handler, or to standard error where there is none.
void log_error(std::string_view message) noexcept;

// Whether nothing is refused: `refusal` returns why something is, or an empty text. The reason is logged.
template <typename Refusal>
bool accepted(Refusal const& refusal) noexcept {
    try {
        std::string const reason = refusal();
        if (!reason.empty()) {
            log_error(reason);
        }
        return reason.empty();
    } catch (std::exception const& error) {  // no memory for the text
        log_error(error.what());
        return false;
    }
}

}  // namespace lgeu
