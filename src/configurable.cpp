// SPDX-License-Identifier: Apache-2.0
//
// util::Configurable, but for its types.
#include "tornado/util.hpp"

#include <fmt/format.h>

#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace tornado::detail {

struct Implementations::Data {
  mutable std::mutex mutex;  // guards what follows
  std::map<std::string, Factory, std::less<>> factories;
  Configuration configuration;

  std::string names() const {
    std::string all;
    for (const auto& [name, factory] : factories) {
      all += all.empty() ? "" : ", ";
      all += name;
    }
    return all.empty() ? "none" : all;
  }
};

Implementations::Implementations() : data_(std::make_shared<Data>()) {}
Implementations::~Implementations() = default;

Implementations& Implementations::of(std::type_index base) {
  // Never destroyed, so that static objects may be made to the end.
  static auto* const mutex = new std::mutex;
  static auto* const all = new std::map<std::type_index, Implementations>;
  const std::lock_guard lock(*mutex);
  return (*all)[base];
}

void Implementations::add(std::string name, Factory factory) {
  const std::lock_guard lock(data_->mutex);
  data_->factories.insert_or_assign(std::move(name), std::move(factory));
}

void Implementations::configure(Configuration configuration) {
  const std::lock_guard lock(data_->mutex);
  if (configuration.factory == nullptr && !data_->factories.contains(configuration.name)) {
    throw std::invalid_argument(
        fmt::format("configure: there is no implementation \"{}\"; there is: {}",
                    configuration.name, data_->names()));
  }
  data_->configuration = std::move(configuration);
}

Implementations::Configuration Implementations::configuration() const {
  const std::lock_guard lock(data_->mutex);
  return data_->configuration;
}

void Implementations::restore(Configuration configuration) {
  const std::lock_guard lock(data_->mutex);
  data_->configuration = std::move(configuration);
}

Implementations::Factory Implementations::chosen(std::string_view by_default) const {
  const std::lock_guard lock(data_->mutex);
  const Configuration& configuration = data_->configuration;
  if (configuration.factory != nullptr) return configuration.factory;
  const std::string_view name = configuration.name.empty() ? by_default : configuration.name;
  const auto found = data_->factories.find(name);
  if (found == data_->factories.end()) {
    throw std::invalid_argument(fmt::format(
        "create: there is no implementation \"{}\"; there is: {}", name, data_->names()));
  }
  return found->second;
}

}  // namespace tornado::detail
