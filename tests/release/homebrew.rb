# What Homebrew provides, reduced to what the formula uses. Loads the formula that the argument names, for the platform RUN_OS and RUN_ARCH,
# and prints each field and each file that it installs.
class Place
  def initialize(name) = @name = name

  def install(what)
    what.is_a?(Hash) ? what.each { |from, to| puts "#{@name} #{from} #{to}" } : puts("#{@name} #{what}")
  end

  def install_symlink(links) = links.each { |from, to| puts "#{@name} link #{from} #{to}" }
end

class Formula
  class << self
    %w[desc homepage version license url sha256].each { |name| define_method(name) { |value| puts "#{name} #{value}" } }
    { "macos" => "darwin", "linux" => "linux" }.each do |name, os|
      define_method("on_#{name}") { |&block| block.call if ENV["RUN_OS"] == os }
    end
    { "arm" => "arm64", "intel" => "amd64" }.each do |name, architecture|
      define_method("on_#{name}") { |&block| block.call if ENV["RUN_ARCH"] == architecture }
    end
    def test = nil
  end

  %w[bin bash_completion zsh_completion fish_completion].each { |name| define_method(name) { Place.new(name) } }
end

load ARGV.fetch(0)
Rolegate.new.install
